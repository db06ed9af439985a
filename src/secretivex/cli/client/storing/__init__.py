"""Commands about key stores themselves: they read the agent's configuration, and ask no agent."""
