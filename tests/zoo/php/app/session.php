<?php session_start(); $_SESSION["a"] = 1; echo "session ", gethostbyname("localhost");
