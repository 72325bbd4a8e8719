"""Tools that live elsewhere: programs, HTTP services, language models, MCP servers."""
