"""How fast the engines are on this machine, against plain programs that run beside them."""
