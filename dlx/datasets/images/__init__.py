"""Images: bundled, downloaded, and from the user's own folders."""
