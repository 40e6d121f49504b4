"""Preloaded launch: a template that has imported torch forks launchers, which fork the ranks of one agent each.

client      what an agent calls: ensure_template, connect_launcher
connection  an agent's end of the connection to its launcher
template    one detached process per host, user, interpreter and preload list
launcher    one per agent, forked from the template
store       the rendezvous store of one generation, forked from the launcher
faithful    when a fork would not behave as a fresh interpreter does
messages    what client and launcher say to one another
"""
