"""What is taken out of a server's answers before they leave: found by its looks, or by where it stands.

From the bottom up: ``keys``, ``tokens``, ``numbers`` and ``addresses`` find one kind of thing in a text each,
``custom`` what the operator describes; ``detectors`` names them. ``pointers`` says where a field is.
``document`` takes a raw JSON value apart and puts it together again; ``windows`` has its tokens, ``packed``
what is base64. ``scan`` looks through it, and ``rules`` says what is looked for in which message.
``settings`` is how all that is written in ``agent.toml``. All of it is done in ``steps`` of some
milliseconds, which whoever runs them may pause, or end.

Everything is linear in the text by construction. A caller who has a server repeat a text, or a server that
was told what to write, must not be able to make the agent think for minutes. So each regular expression
begins at a literal or after a look-behind that no character of its own repeated class can pass, every
repetition is bounded or possessive, and what follows a repetition is not in its class: no text is read more
than a constant number of times. Custom patterns run in RE2, which is linear whatever the pattern is.
"""
