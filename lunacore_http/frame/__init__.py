"""The Secure Frame and the components: what browsers run.

``sdk/`` runs in the application's pages, ``secure/`` on the tokenizer's own origin. They are plain ES modules, served as they lie
here but for their comments, by ``lunacore_http.resources.frame``. ``docs/spec/frame-messages.md`` says what they tell each other.
"""
