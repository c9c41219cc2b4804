"""What a person, a log or a script sees of an upload of trees, and the bar of one file.

rich is imported where there is a terminal and nowhere else: a process that sends ten thousand small files has not
much more time than rich takes to load.
"""
