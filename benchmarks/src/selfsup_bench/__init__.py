"""The benchmark harness of selfsup: suites, cells, executors, records, statistics, leaderboard and report.

It knows no plugin: tasks, backbones, data sets and evaluators are reached by their ids, through the registry.
"""
