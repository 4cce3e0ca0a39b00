"""Knowledge bases: files cut into passages, found by words and by meaning, and questions answered from them."""
