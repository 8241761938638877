"""Speed, side by side: `make bench`. Nothing here is a test."""
