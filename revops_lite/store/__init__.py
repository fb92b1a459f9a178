"""All of Redis: keys.py has every key, scripts/ every atomic change, store.py the verbs, client.py the connections."""
