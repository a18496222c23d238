"""The documented questions as data: what each answers, who may read it, what it may read, and how long its answers hold."""
