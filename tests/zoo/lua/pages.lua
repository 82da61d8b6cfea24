return { title = "a page" }
