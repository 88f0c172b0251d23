"""From a plan and its costs to the rounds, fills and streams that the fabric executes."""
