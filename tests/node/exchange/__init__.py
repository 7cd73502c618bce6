"""What a grant, an order and a log do between two nodes, on in-memory peers."""
