from saltjax.cli import start

start()
