/**
 * The templates of deploy/aws, as far as that goes without an account: AWS's own linter with the schemas of all resources,
 * moto's imitation of AWS that really makes the stacks, botocore's list of calls, and what must be so whatever they say.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { EcsSection } from '../../protocol/launcher-config.ts'
import { type Json, readTemplate, type Template } from '../helpers/cloudformation.ts'

const FOLDER = 'deploy/aws'
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'))
const template = (name: string): Template => readTemplate(`${FOLDER}/${name}`)
const document = (resource: Template['Resources'][string] | undefined): Json =>
  resource?.Properties.PolicyDocument ?? null

/** Every value below a key, wherever it stands. */
function all(key: string, value: Json): Json[] {
  if (typeof value !== 'object' || value === null) return []
  if (Array.isArray(value)) return value.flatMap((one) => all(key, one))
  return Object.entries(value).flatMap(([name, one]) => [...(name === key ? [one] : []), ...all(key, one)])
}

describe('the templates', () => {
  test('give back what launchers.ecs asks for, under its names', () => {
    const outputs = Object.keys(template('tasks.yaml').Outputs)
    expect(outputs.filter((name) => !(name in EcsSection.shape))).toEqual([])
    expect(outputs).toEqual(expect.arrayContaining(['cluster', 'region', 'subnets', 'executionRoleArn', 'logGroup']))
  })

  test('let nothing in where tasks run', () => {
    const { Resources } = template('tasks.yaml')
    expect(Resources.SecurityGroup?.Properties).not.toHaveProperty('SecurityGroupIngress')
    expect(Object.values(Resources).map(({ Type }) => Type)).not.toContain('AWS::EC2::SecurityGroupIngress')
  })

  test.each(NAMES)('%s: machines show their credentials to nothing a hop away, and disks are encrypted', (name) => {
    const whole = template(name) as unknown as Json
    for (const options of all('MetadataOptions', whole))
      expect(options).toEqual({ HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled' })
    for (const disk of all('Ebs', whole)) expect(disk).toMatchObject({ Encrypted: true })
  })

  test.each(NAMES)('%s: rights name their actions, and a resource wherever IAM knows one', (name) => {
    const withoutResource = new Set([
      ...['ecr:GetAuthorizationToken', 'ecs:DiscoverPollEndpoint', 'ecs:ListTasks'],
      ...['ecs:DeregisterTaskDefinition', 'ecs:DescribeTaskDefinition'],
      ...['ec2:DescribeRouteTables', 'ec2:DescribeSecurityGroups', 'ec2:DescribeSubnets', 'ec2:DescribeVpcEndpoints'],
    ])
    for (const statement of all('Statement', template(name) as unknown as Json).flat() as { [key: string]: Json }[]) {
      const actions = [statement.Action ?? []].flat().map(String)
      for (const action of actions) expect(action).toMatch(/^[a-z0-9]+:[A-Z][A-Za-z]+$/)
      if (statement.Resource === '*') expect(actions.filter((action) => !withoutResource.has(action))).toEqual([])
    }
  })

  test('the policy is in gateway-policy.json as well, with places to fill in', () => {
    const filled = JSON.stringify(
      document(template('gateway-policy.yaml').Resources.GatewayPolicy),
      (_, value: Json) => {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
        if (value.Ref === 'ExecutionRoleArn') return 'arn:aws:iam::ACCOUNT:role/EXECUTION_ROLE'
        const [condition, , otherwise] = Array.isArray(value['Fn::If']) ? value['Fn::If'] : []
        if (condition === 'HasTaskEngine') return otherwise ?? null
        return value['Fn::Sub'] ?? value
      },
    )
      .replaceAll(
        `,${JSON.stringify({ 'Fn::If': ['HasTaskRole', { Ref: 'TaskRoleArn' }, { Ref: 'AWS::NoValue' }] })}`,
        '',
      )
      .replaceAll(/\$\{(?:AWS::)?(\w+)\}/g, (_, name: string) => PLACES[name] ?? name)
    expect(JSON.parse(filled)).toEqual(JSON.parse(readFileSync(`${FOLDER}/gateway-policy.json`, 'utf8')))
  })

  test.each(NAMES)('%s: what a new machine runs is a script', (name) => {
    for (const data of all('Fn::Base64', template(name) as unknown as Json)) {
      const [text = ''] = [(data as { 'Fn::Sub': Json })['Fn::Sub']].flat()
      execFileSync('bash', ['-n'], { input: String(text).replaceAll(/\$\{(\w+)\}/g, '$1') })
    }
  })
})

const PLACES: Record<string, string> = { Partition: 'aws', Region: 'REGION', AccountId: 'ACCOUNT', Cluster: 'CLUSTER' }

const hasLinter = spawnSync('cfn-lint', ['--version']).status === 0
if (!hasLinter) console.log('the templates are not compared with the schemas of AWS here: cfn-lint is not installed')

test.skipIf(!hasLinter)(
  'the linter of AWS finds nothing',
  () => {
    const linted = spawnSync('cfn-lint', ['-t', ...NAMES.map((name) => `${FOLDER}/${name}`)], { encoding: 'utf8' })
    expect(linted).toMatchObject({ status: 0, stdout: '' })
  },
  300_000,
)

const hasMoto = spawnSync('python3', ['-c', 'import boto3, moto']).status === 0
if (!hasMoto) console.log('no stack is made of the templates here: python3 has no moto')

interface Stack {
  status: string
  outputs: Record<string, string>
  resources: Record<string, string>
  attached: string[]
  made: Record<'VPC' | 'SUBNET' | 'SUBNET2' | 'SG' | 'ROUTES', string>
}

describe.skipIf(!hasMoto)('a stack that is made of', () => {
  const role = 'arn:aws:iam::123456789012:role/existing'
  const wanted = {
    fargate: ['tasks.yaml', { VpcId: 'VPC', SubnetIds: 'SUBNET,SUBNET2' }],
    ec2: [
      'tasks.yaml',
      { VpcId: 'VPC', SubnetIds: 'SUBNET', Capacity: 'ec2', AssignPublicIp: 'false', ImageId: 'ami-1' },
    ],
    existing: [
      'tasks.yaml',
      {
        VpcId: 'VPC',
        SubnetIds: 'SUBNET',
        ExistingCluster: 'theirs',
        ExistingSecurityGroupId: 'SG',
        ExistingExecutionRoleArn: role,
        ExistingTaskRoleArn: role,
        PermissionsBoundaryArn: 'arn:aws:iam::123456789012:policy/boundary',
        LogKmsKeyArn: 'arn:aws:kms:eu-central-1:123456789012:key/x',
        NamePrefix: 'ours',
      },
    ],
    policy: ['gateway-policy.yaml', { Cluster: 'rclaude', ExecutionRoleArn: role, RoleName: 'existing' }],
    enginePolicy: [
      'gateway-policy.yaml',
      { Cluster: 'rclaude', ExecutionRoleArn: role, NamePrefix: 'engines', TaskEngine: 'true' },
    ],
    host: [
      'gateway-host.yaml',
      {
        VpcId: 'VPC',
        SubnetId: 'SUBNET',
        Domain: 'rclaude.example.org',
        PackageBucket: 'a-bucket',
        PrivateZone: 'true',
        TasksSecurityGroupId: 'SG',
      },
    ],
    endpoints: [
      'endpoints.yaml',
      { VpcId: 'VPC', SubnetIds: 'SUBNET', RouteTableIds: 'ROUTES', TasksSecurityGroupId: 'SG', Ec2Capacity: 'true' },
    ],
  } as const
  type Name = keyof typeof wanted
  let stacks: Record<Name, Stack>
  let unknownActions: Record<string, string[]>

  beforeAll(() => {
    const input = Object.values(wanted).map(([name, parameters]) => ({ template: `${FOLDER}/${name}`, parameters }))
    const made = spawnSync('python3', ['test/deploy/create_stacks.py'], {
      input: JSON.stringify(input),
      encoding: 'utf8',
    })
    if (made.status !== 0) throw new Error(made.stderr)
    const said = JSON.parse(made.stdout)
    stacks = Object.fromEntries(Object.keys(wanted).map((name, at) => [name, said.stacks[at]])) as typeof stacks
    unknownActions = said.unknownActions
  }, 300_000)

  test('every template is complete', () => {
    for (const [name, { status }] of Object.entries(stacks)) expect([name, status]).toEqual([name, 'CREATE_COMPLETE'])
  })

  test('tasks.yaml makes what is missing, for Fargate nothing that costs', () => {
    const { outputs, resources, made } = stacks.fargate
    expect(outputs).toEqual({
      cluster: 'rclaude',
      region: 'eu-central-1',
      subnets: `${made.SUBNET},${made.SUBNET2}`,
      securityGroups: expect.stringMatching(/^sg-/),
      assignPublicIp: 'true',
      capacity: 'fargate',
      executionRoleArn: 'arn:aws:iam::123456789012:role/rclaude-execution-eu-central-1',
      architecture: 'x86_64',
      logGroup: '/rclaude/tasks',
    })
    expect(Object.keys(resources)).toEqual(
      expect.arrayContaining(['Cluster', 'ExecutionRole', 'LogGroup', 'SecurityGroup']),
    )
    expect(Object.values(resources).filter((type) => /^AWS::(EC2::Launch|AutoScaling)/.test(type))).toEqual([])
    expect(Object.values(stacks.ec2.resources)).toEqual(
      expect.arrayContaining(['AWS::EC2::LaunchTemplate', 'AWS::AutoScaling::AutoScalingGroup']),
    )
  })

  test('tasks.yaml takes what is there', () => {
    const { outputs, resources, made } = stacks.existing
    expect(outputs).toMatchObject({
      cluster: 'theirs',
      securityGroups: made.SG,
      executionRoleArn: role,
      taskRoleArn: role,
      logGroup: '/ours/tasks',
    })
    expect(Object.values(resources).filter(Boolean)).toEqual(['AWS::Logs::LogGroup'])
  })

  test('gateway-policy.yaml is attached to the role that it is told', () => {
    expect(stacks.policy.attached.sort()).toEqual(['rclaude-gateway-eu-central-1'])
  })

  test('gateway-host.yaml is a machine with an address, a disk and a name inside', () => {
    expect(Object.keys(stacks.host.resources)).toEqual(
      expect.arrayContaining(['Address', 'DataAttachment', 'DataVolume', 'FromTasks', 'Instance', 'PrivateName']),
    )
    expect(stacks.host.outputs.roleName).toBe('rclaude-gateway-eu-central-1')
  })

  test('endpoints.yaml has as many endpoints as it says', () => {
    const { outputs, resources } = stacks.endpoints
    const made = Object.values(resources).filter((type) => type === 'AWS::EC2::VPCEndpoint')
    expect(made).toHaveLength(Number(outputs.InterfaceEndpoints) + 1) // and the one of S3
  })

  test('policies name actions that there are', () => {
    expect(unknownActions).toEqual(
      Object.fromEntries(Object.values(wanted).map(([name]) => [`${FOLDER}/${name}`, [] as string[]])),
    )
  })
})
