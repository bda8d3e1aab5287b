"""`doctor`: looks at a machine and a node, says what is wrong and which command helps.

gather      facts: files, sockets, /proc, the running node's answers; changes nothing
checks      facts -> findings; pure, a row of a table each
"""
