/** The commands that make what the launcher needs on AWS, with the templates of deploy/aws. */
import { shellQuoted } from '../../host/programs.ts'
import type { EcsSection } from '../../protocol/launcher-config.ts'

const DEPLOY = 'aws cloudformation deploy --capabilities CAPABILITY_NAMED_IAM'
const STACK = 'rclaude-tasks'

/** Cluster, roles, log group and security group, in a network that is there. */
export const makeCommand = (): string =>
  `${DEPLOY} --stack-name ${STACK} --template-file deploy/aws/tasks.yaml \\
  --parameter-overrides VpcId=VPC SubnetIds=SUBNET,SUBNET`

export const readCommand = (): string =>
  `aws cloudformation describe-stacks --stack-name ${STACK} --query 'Stacks[0].Outputs' --output json > outputs.json`

/** What the gateway may do. */
export function policyCommand({ cluster, region, executionRoleArn, taskRoleArn }: EcsSection): string {
  const parameters = [
    `Cluster=${cluster.slice(cluster.lastIndexOf('/') + 1)}`,
    `ExecutionRoleArn=${executionRoleArn ?? 'ROLE_THAT_PULLS_THE_IMAGE'}`,
    ...(taskRoleArn === undefined ? [] : [`TaskRoleArn=${taskRoleArn}`]),
    'RoleName=ROLE_OF_THE_GATEWAY',
  ]
  return `${DEPLOY} --region ${shellQuoted(region)} --stack-name rclaude-gateway-policy --template-file deploy/aws/gateway-policy.yaml \\
  --parameter-overrides ${parameters.map(shellQuoted).join(' ')}`
}
