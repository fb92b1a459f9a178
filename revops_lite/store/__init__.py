"""All of Redis: keys.py names every key, scripts/ every atomic change, store.py the verbs, client.py the connections."""
