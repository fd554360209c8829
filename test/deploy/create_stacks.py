"""Creates the stacks of deploy/aws in moto's imitation of AWS, in memory, and prints what came of them as JSON.

Standard input: a list of {"template": path, "parameters": {name: value}}. SUBNET, SUBNET2, VPC, SG and ROUTES in a value stand for
ones that are made first. Standard output: a list of {"outputs": {...}, "resources": {logical id: type}}, then for each template
the actions in it that no API of botocore has.
"""
import functools
import json
import os
import re
import sys

os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="eu-central-1")
import boto3
from moto import mock_aws

# Rights that stand for no call of the public API, and keys of conditions.
NO_CALLS = {"iam:PassRole", "ecs:Poll", "ecs:StartTelemetrySession", "ecs:CreateAction", "iam:PassedToService"}


def create(stack):
    with mock_aws():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = lambda block: ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        made = {
            "VPC": vpc,
            "SUBNET2": subnet("10.0.2.0/24"),
            "SUBNET": subnet("10.0.1.0/24"),
            "SG": ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc)["GroupId"],
            "ROUTES": ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"],
        }
        iam = boto3.client("iam")
        iam.create_role(RoleName="existing", AssumeRolePolicyDocument="{}")

        def value(text):
            for name, real in made.items():
                text = text.replace(name, real)
            return text

        cloudformation = boto3.client("cloudformation")
        cloudformation.create_stack(
            StackName="it",
            TemplateBody=open(stack["template"]).read(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value(text)} for key, text in stack["parameters"].items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        (created,) = cloudformation.describe_stacks(StackName="it")["Stacks"]
        resources = cloudformation.list_stack_resources(StackName="it")["StackResourceSummaries"]
        attached = iam.list_attached_role_policies(RoleName="existing")["AttachedPolicies"]
        return {
            "status": created["StackStatus"],
            "outputs": {one["OutputKey"]: one["OutputValue"] for one in created.get("Outputs", [])},
            "resources": {one["LogicalResourceId"]: one["ResourceType"] for one in resources},
            "attached": [one["PolicyName"] for one in attached],
            "made": made,
        }


@functools.cache
def calls_of(service):
    return set(boto3.client(service).meta.service_model.operation_names)


def unknown_actions(template):
    unknown = []
    for service, action in set(re.findall(r"\b(ecs|ecr|ec2|iam|logs|s3|sts):([A-Z]\w+)", open(template).read())):
        if action not in calls_of(service) and f"{service}:{action}" not in NO_CALLS:
            unknown.append(f"{service}:{action}")
    return sorted(unknown)


stacks = json.load(sys.stdin)
json.dump(
    {
        "stacks": [create(stack) for stack in stacks],
        "unknownActions": {name: unknown_actions(name) for name in sorted({stack["template"] for stack in stacks})},
    },
    sys.stdout,
)
