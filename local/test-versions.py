"""Deploys to the running stack and goes back, with local/versions.py: what runs afterwards is told by what the functions do.

It changes parameters of the stack that is up, and leaves it with those that it had. Run by `make test`, inside
`stack.py exec`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import boto3
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

import smoke
from emulator import mend_event_sources
from log_events import log_events
from package import TEMPLATE, with_code
from versions import ALIAS, functions_of

STACK = os.environ["STACK"]
STACKS, FUNCTIONS, LOGS = boto3.client("cloudformation"), boto3.client("lambda"), boto3.client("logs")
OF_STARTS = {f"{STACK}-start-import", f"{STACK}-start-export"}


def expect(held: bool, what: str) -> None:
    if not held:
        sys.exit(f"local/test-versions.py: {what}")


def tell(what: str) -> None:
    print(f"holds   {what}", flush=True)


def versions(*arguments: str, refused: str | None = None) -> str:
    command = [sys.executable, "local/versions.py", *arguments]
    done = subprocess.run(command, cwd=smoke.__file__.removesuffix("local/smoke.py"), capture_output=True, text=True)
    said = done.stdout + done.stderr
    if refused is None:
        expect(done.returncode == 0, f"{' '.join(arguments)}: {said}")
    else:
        expect(done.returncode == 1 and said.startswith("error: ") and refused in said, f"not refused: {said}")
        expect(said.count("\n") == 1, f"not one sentence: {said}")
    return said


def live() -> dict[str, int]:
    return {function.name: int(function.live.number) for function in functions_of(FUNCTIONS, described())}


def described() -> dict:
    return STACKS.describe_stacks(StackName=STACK)["Stacks"][0]


def deploy(values: dict[str, str]) -> None:
    """The same template with other parameters. The next deployment begins in another second, as they do."""
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    time.sleep(1)
    STACKS.update_stack(
        StackName=STACK, UsePreviousTemplate=True, Parameters=parameters,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    while described()["StackStatus"].endswith("_IN_PROGRESS"):
        time.sleep(0.1)
    expect(described()["StackStatus"] == "UPDATE_COMPLETE", "the stack could not be updated")
    mend_event_sources(FUNCTIONS)


def days_of_a_job() -> int:
    """How long a new job is kept: a setting of start-import alone."""
    job = smoke.completed(smoke.start("/v1/bulk/import", {"resourceType": "Patient", "data": smoke.patient(1)}))
    kept = datetime.fromisoformat(job["expiresAt"]) - datetime.fromisoformat(job["createdAt"])
    return round(kept.total_seconds() / 86_400)


def processor_says_info() -> bool:
    """Whether run-import tells of a new job at the level INFO. It tells metrics at every level, and those first."""
    since = int(time.time() * 1000) - 1000
    job = smoke.start("/v1/bulk/import", {"resourceType": "Patient", "data": smoke.patient(1)})
    smoke.completed(job)
    time.sleep(1)
    texts = [event["message"] for event in log_events(LOGS, f"/aws/lambda/{STACK}-processors", since) if job in event["message"]]
    expect(bool(texts), "run-import has told nothing of a job")
    return any(json.loads(text).get("level") == "INFO" for text in texts)


class NoPolicies:
    """For SAM, which asks what policies AWS manages. The template names none."""

    def load(self) -> dict:
        return {}


def made_by_sam(deployment: str) -> dict[str, list[dict]]:
    """The resources that SAM makes of the template, by type."""
    template = yaml_parse(with_code(TEMPLATE.read_text(), lambda name: f"s3://artifacts/{name}"))
    made: dict[str, list[dict]] = {}
    for resource in transform(template, {"Deployment": deployment}, NoPolicies())["Resources"].values():
        made.setdefault(resource["Type"], []).append(resource)
    return made


def steps() -> None:
    """The local stack knows no CodeDeploy: so far as the template goes."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    for deployment, moved in (("AllAtOnce", 0), ("Canary10Percent5Minutes", 9), ("Linear10PercentEvery10Minutes", 9)):
        made = made_by_sam(deployment)
        groups = [group["Properties"] for group in made.get("AWS::CodeDeploy::DeploymentGroup", [])]
        aliases = [alias for alias in made["AWS::Lambda::Alias"] if "UpdatePolicy" in alias]
        applications = len(made.get("AWS::CodeDeploy::Application", []))
        expect((len(groups), len(aliases), applications) == (moved, moved, min(moved, 1)), f"{deployment} moves {len(aliases)}")
        for group in groups:
            expect(group["DeploymentConfigName"]["Fn::Sub"][1] == {"ConfigName": deployment}, f"{group}")
            expect("DeploymentRole" in json.dumps(group["ServiceRoleArn"]) and "ApiErrorsAlarm" in json.dumps(group), f"{group}")
        # One that SAM adds would lack the permissions boundary.
        roles = [role["Properties"] for role in made["AWS::IAM::Role"]]
        expect(all("PermissionsBoundary" in role for role in roles), f"{deployment}: a role without permissions boundary")
        kept = [version for version in made["AWS::Lambda::Version"] if version["DeletionPolicy"] == version["UpdateReplacePolicy"] == "Retain"]
        expect(len(kept) == len(made["AWS::Lambda::Function"]), f"{deployment}: a version that is not retained")
    tell("SAM makes of a Deployment in steps what CodeDeploy needs, and nothing of AllAtOnce")


def story(parameters: dict[str, str]) -> None:
    days, first, began = int(parameters["RetentionDays"]), live(), datetime.now(UTC)
    expect(parameters["LogLevel"] == "INFO" and len(first) > 10, f"not the stack that was expected: {first}")
    deploy(parameters | {"StageName": "other", "ApiReservedConcurrency": "50"})
    expect(live() == first, "a version was published of functions that have not changed")
    tell("tags and reserved concurrency are deployed without a version")

    # A deployment just before: it is not the last one.
    deploy(parameters | {"LogLevel": "ERROR"})
    all_changed = live()
    expect(all(all_changed[name] > first[name] for name in first), f"{first} became {all_changed}")
    expect(not processor_says_info(), "the processor does not run the new version")
    tell("a changed parameter publishes a version of each function, and calls reach it")

    deploy(parameters | {"LogLevel": "ERROR", "RetentionDays": str(days + 2)})
    changed = {name for name, version in live().items() if version > all_changed[name]}
    expect(changed == OF_STARTS, f"changed: {changed}")
    expect(days_of_a_job() == days + 2, "start-import does not run the new version")
    said = versions(STACK, "back")
    expect(live() == all_changed and said.count("\n") == len(OF_STARTS), said)
    expect(days_of_a_job() == days, "start-import does not run the earlier version")
    tell("back undoes the last deployment alone, and jobs go on")

    versions(STACK, "back", "--before", f"{began:%Y-%m-%dT%H:%M:%SZ}")
    expect(live() == first, f"{live()}, not {first}")
    expect(processor_says_info(), "the processor does not run the earlier version")
    tell("back --before finds the newest versions of then")

    name = min(OF_STARTS)
    FUNCTIONS.update_alias(FunctionName=name, Name=ALIAS, RoutingConfig={"AdditionalVersionWeights": {str(all_changed[name]): 0.1}})
    versions(STACK, "back", "--before", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", refused=f"of {name} is under way")
    FUNCTIONS.update_alias(FunctionName=name, Name=ALIAS, RoutingConfig={"AdditionalVersionWeights": {}})
    for command in ("back", "list", "prune"):
        versions("no-such-stack", command, refused="no stack no-such-stack")
    versions(STACK, "back", "--before", "2020-01-01", refused="before 2020-01-01T00:00:00Z")
    expect(live() == first, "a refusal has moved something")
    tell("what cannot be done is refused, and nothing is changed")

    deploy(parameters)
    last = live()
    expect(all(last[name] > all_changed[name] for name in first), "the next deployment moves every alias on")
    # The alias of one names an old version: it stays.
    FUNCTIONS.update_alias(FunctionName=name, Name=ALIAS, FunctionVersion=str(first[name]))
    versions(STACK, "prune", "--keep", "1")
    left = {function.name: [int(version.number) for version in function.versions] for function in functions_of(FUNCTIONS, described())}
    FUNCTIONS.update_alias(FunctionName=name, Name=ALIAS, FunctionVersion=str(last[name]))
    expect(left == {other: [last[other]] for other in last} | {name: [last[name], first[name]]}, f"left: {left}")
    versions(STACK, "prune", "--keep", "1")
    versions(STACK, "back", refused="no version older than the live one")
    expect(live() == last and days_of_a_job() == days and processor_says_info(), "not as before")
    expect(versions(STACK, "list").count(f"  {ALIAS} ") == len(last), "list marks what is live")
    tell("the next deployment moves the aliases on, and prune keeps what they name")


def main() -> None:
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in described()["Parameters"]}
    steps()
    try:
        story(parameters)
    finally:
        now = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in described()["Parameters"]}
        if now != parameters:
            deploy(parameters)


if __name__ == "__main__":
    main()
