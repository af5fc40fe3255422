"""Reading, side by side: workloads, targets, what starts and stops around them, and how results are shown."""
