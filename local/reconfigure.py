"""Changes a function of the running stack, as tests do it."""


def reconfigure(functions, name: str, **settings) -> None:
    """Gives a function other settings. Calls reach its alias, so a version is published and the alias moved to it, as by a
    deployment."""
    functions.update_function_configuration(FunctionName=name, **settings)
    version = functions.publish_version(FunctionName=name)["Version"]
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
