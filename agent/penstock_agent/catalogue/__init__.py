"""What the servers of this site offer: their lists, read from a child that is thrown away afterwards."""
