from saltjax.cli import main

main()
