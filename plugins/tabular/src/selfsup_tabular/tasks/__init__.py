"""The tasks of tables: what their papers do beyond an objective and the default views."""
