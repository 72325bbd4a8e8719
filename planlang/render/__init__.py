"""Pictures of a plan: a tree for terminals, Mermaid for documents, SVG for browsers, all from one `PlanView`."""
