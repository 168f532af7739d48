"""Shows robots: player, window, page in the browser, video."""
