def quickstart(language="de", out=None):
    raise NotImplementedError
