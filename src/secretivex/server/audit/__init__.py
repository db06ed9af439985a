"""Where audit records go: the workers' end of the pipe, the writer's process, files and loggers."""
