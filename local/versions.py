"""The published versions of a deployed stack's functions: shows them, goes back to earlier ones, removes old ones.

    versions.py STACK list
    versions.py STACK back                     undo the last deployment: each function that it has changed goes back by one version
    versions.py STACK back --before MOMENT     every function goes to the version that was the newest at a moment (UTC)
    versions.py STACK prune [--keep N]         remove all but the newest N versions (5), and those that an alias names

Calls reach the version that the alias `live` names; going back moves the alias, and takes effect within seconds.
RUNBOOK.md, "A deployment went wrong", says what does not go back. It uses the AWS credentials of the shell.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ALIAS = "live"
# Versions that were published so close to each other are of one deployment, where the stack does not tell.
ONE_DEPLOYMENT = timedelta(minutes=30)


class Refused(Exception):
    """Why nothing was done, as a sentence."""


@dataclass
class Version:
    number: str
    published: datetime
    settings: str


@dataclass
class Function:
    name: str
    live: Version
    # The newest first.
    versions: list[Version]
    # All versions that some alias names.
    named: set[str]
    # A deployment under way: two versions share the calls.
    is_split: bool
    # Of the alias: if somebody else moves it meanwhile, it is not moved again.
    revision: str

    def older(self) -> Version | None:
        return next((version for version in self.versions if int(version.number) < int(self.live.number)), None)

    def before(self, moment: datetime) -> Version | None:
        return next((version for version in self.versions if version.published < moment), None)


# ---------------------------------------------------------------- reading


def stack_of(name: str) -> dict:
    if not name:
        raise Refused("name the stack (make roll-back STACK=…)")
    try:
        return boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise Refused(f"there is no stack {name} in this account and region") from error
        raise


def names_of(stack: str) -> list[str]:
    """The stack's functions, by its resources: names of another stack may begin in the same way."""
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return sorted(found["PhysicalResourceId"] for found in resources if found["ResourceType"] == "AWS::Lambda::Function")


def version_of(described: dict) -> Version:
    published = datetime.fromisoformat(described["LastModified"]).astimezone(UTC)
    return Version(described["Version"], published, described.get("Description", ""))


def function_of(client, name: str) -> Function:
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    described = [found for page in pages for found in page["Versions"] if found["Version"] != "$LATEST"]
    versions = sorted(map(version_of, described), key=lambda version: int(version.number), reverse=True)
    pages = client.get_paginator("list_aliases").paginate(FunctionName=name)
    aliases = {alias["Name"]: alias for page in pages for alias in page["Aliases"]}
    if ALIAS not in aliases:
        raise Refused(f"{name} has no alias {ALIAS}; deploy this version of the template first")
    weights = lambda alias: alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})  # noqa: E731
    named = {number for alias in aliases.values() for number in (alias["FunctionVersion"], *weights(alias))}
    alias = aliases[ALIAS]
    live = next((version for version in versions if version.number == alias["FunctionVersion"]), None)
    if live is None:
        raise Refused(f"the alias {ALIAS} of {name} names no published version")
    return Function(name, live, versions, named, bool(weights(alias)), alias["RevisionId"])


def functions_of(client, stack: dict) -> list[Function]:
    functions = [function_of(client, name) for name in names_of(stack["StackName"])]
    if not functions:
        raise Refused(f"the stack {stack['StackName']} has no functions")
    return functions


# ---------------------------------------------------------------- commands


def moment_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def show(client, stack: dict) -> None:
    for function in functions_of(client, stack):
        print(function.name)
        for version in function.versions:
            mark = ALIAS if version.number == function.live.number else ""
            print(f"  {mark:<5}{version.number:>5}  {moment_text(version.published)}  {version.settings}".rstrip())


def of_last_deployment(stack: dict, functions: list[Function]) -> list[Function]:
    """Those whose live version the last deployment has published.

    It began when the stack was last updated. If nothing that is live is as new (it has changed no function, or was
    undone), it is the deployment before."""
    began = (stack.get("LastUpdatedTime") or stack["CreationTime"]).replace(microsecond=0)
    newest = max(function.live.published for function in functions)
    since = began if newest >= began else newest - ONE_DEPLOYMENT
    return [function for function in functions if function.live.published >= since]


def targets(stack: dict, functions: list[Function], moment: datetime | None) -> list[tuple[Function, Version]]:
    """Which function goes to which version; refuses unless all can."""
    split = [function.name for function in functions if function.is_split]
    if split or stack["StackStatus"].endswith("_IN_PROGRESS"):
        of = f" of {', '.join(split)}" if split else ""
        raise Refused(f"a deployment{of} is under way; stop it first (RUNBOOK.md, \"A deployment went wrong\")")
    if moment is None:
        chosen = [(function, function.older()) for function in of_last_deployment(stack, functions)]
        lacking = "no version older than the live one"
    else:
        chosen = [(function, function.before(moment)) for function in functions]
        lacking = f"no version from before {moment_text(moment)}"
    stuck = [function.name for function, version in chosen if version is None]
    if stuck:
        raise Refused(f"nothing was changed: {', '.join(stuck)}: {lacking}")
    moves = [(function, version) for function, version in chosen if version.number != function.live.number]
    if not moves:
        raise Refused("nothing was changed: all functions have these versions already")
    return moves


def back(client, stack: dict, moment: datetime | None) -> None:
    moves = targets(stack, functions_of(client, stack), moment)
    for done, (function, version) in enumerate(moves):
        try:
            client.update_alias(
                FunctionName=function.name, Name=ALIAS, FunctionVersion=version.number, RevisionId=function.revision,
            )
        except ClientError as error:
            rest = ", ".join(function.name for function, _ in moves[done:])
            raise Refused(f"{sentence(error)}; not moved: {rest}. Run it again when the cause is gone") from error
        print(f"{function.name}: from version {function.live.number} to {version.number}, "
              f"published {moment_text(version.published)}", flush=True)


def prune(client, stack: dict, keep: int) -> None:
    removed = 0
    for function in functions_of(client, stack):
        old = [version.number for version in function.versions[keep:] if version.number not in function.named]
        for number in old:
            # Without a version's number this call would delete the function.
            assert number.isdecimal()
            client.delete_function(FunctionName=function.name, Qualifier=number)
        if old:
            print(f"{function.name}: removed {', '.join(reversed(old))}", flush=True)
        removed += len(old)
    print(f"{removed} versions removed")


# ---------------------------------------------------------------- command line


def sentence(error: ClientError) -> str:
    """What AWS has refused, by its code: its messages name the account."""
    return f"AWS refused {error.operation_name} ({error.response['Error']['Code']})"


def moment_of(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no moment; write it as 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def count_of(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("keep one version at least")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", metavar="STACK")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show the versions of each function, and which is live")
    go_back = commands.add_parser("back", help="move the functions back to earlier versions")
    go_back.add_argument("--before", type=moment_of, metavar="MOMENT", help="to what was the newest then: 2026-01-31T12:00:00Z")
    remove = commands.add_parser("prune", help="remove old versions")
    remove.add_argument("--keep", type=count_of, default=5, metavar="N", help="how many of the newest stay (5)")
    arguments = parser.parse_args()
    try:
        client, stack = boto3.client("lambda"), stack_of(arguments.stack)
        if arguments.command == "list":
            show(client, stack)
        elif arguments.command == "back":
            back(client, stack, arguments.before)
        else:
            prune(client, stack, arguments.keep)
    except Refused as reason:
        sys.exit(f"error: {reason}")
    except ClientError as error:
        sys.exit(f"error: {sentence(error)}")
    except BotoCoreError as error:
        # No credentials, no region, no network.
        sys.exit(f"error: AWS cannot be called: {type(error).__name__}; are credentials and AWS_REGION set?")


if __name__ == "__main__":
    main()
