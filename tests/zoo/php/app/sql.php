<?php require "part.php"; echo (new PDO("sqlite::memory:"))->query("select 6*7")->fetchColumn(), part();
