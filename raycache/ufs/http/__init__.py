"""What stores that are reached by HTTP have in common, whatever they speak over it.

`http_client` sends one request, `proxies` reads the environment, `option_values` a mount's options; `body` is what is sent,
`etags` what comes back.
"""
