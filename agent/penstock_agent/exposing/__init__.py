"""What ``penstock-agent expose`` works with: a server's lists, expose entries, the file that keeps them."""
