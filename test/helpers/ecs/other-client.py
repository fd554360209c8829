"""Asks the ECS of the tests what the launcher asks, as botocore does: an independent reading of the same API."""

import json
import sys

import botocore.session

url, image = sys.argv[1:]
session = botocore.session.get_session()
ecs = session.create_client(
    "ecs",
    region_name="eu-central-1",
    endpoint_url=url,
    aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
    aws_secret_access_key="of-the-tests",
)
definition = ecs.register_task_definition(
    family="rclaude-botocore",
    networkMode="awsvpc",
    requiresCompatibilities=["FARGATE"],
    cpu="256",
    memory="512",
    containerDefinitions=[{"name": "agent", "image": image, "essential": True}],
)["taskDefinition"]
request = dict(
    cluster="rclaude",
    taskDefinition=definition["taskDefinitionArn"],
    capacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}],
    networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    startedBy="rclaude/botocore",
)
# Debian 12 has a botocore from before there were tokens.
knows_tokens = "clientToken" in ecs.meta.service_model.operation_model("RunTask").input_shape.members
if knows_tokens:
    request["clientToken"] = "once"
first = ecs.run_task(**request)["tasks"][0]
again = ecs.run_task(**request)["tasks"][0] if knows_tokens else first
listed = ecs.list_tasks(cluster="rclaude", startedBy="rclaude/botocore")["taskArns"]
ecs.get_waiter("tasks_running").wait(
    cluster="rclaude", tasks=listed, WaiterConfig={"Delay": 0, "MaxAttempts": 2000}
)
running = ecs.describe_tasks(cluster="rclaude", tasks=listed)["tasks"][0]
ecs.stop_task(cluster="rclaude", task=first["taskArn"], reason="enough")
ecs.get_waiter("tasks_stopped").wait(
    cluster="rclaude", tasks=listed, WaiterConfig={"Delay": 0, "MaxAttempts": 2000}
)
stopped = ecs.describe_tasks(cluster="rclaude", tasks=listed)["tasks"][0]
try:
    ecs.list_tasks(cluster="nowhere")
    refused = None
except ecs.exceptions.ClusterNotFoundException as error:
    refused = str(error)
print(
    json.dumps(
        {
            "same": first["taskArn"] == again["taskArn"] and listed == [first["taskArn"]],
            "running": running["lastStatus"],
            "createdYear": running["createdAt"].year,
            "stopped": [stopped["lastStatus"], stopped["stopCode"], stopped["stoppedReason"]],
            "refused": refused,
        }
    )
)
