"""The inference engine as the dashboard sees it: from outside, over HTTP, whatever it answers."""
