"""The command line `holdfast`, the supervisor behind `holdfast up`, and the servers that it embeds."""
