"""From the leaderboard of own data to a recommendation."""
