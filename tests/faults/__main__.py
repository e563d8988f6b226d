from tests.faults.command import command

command()
