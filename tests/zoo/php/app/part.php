<?php function part() { return " part"; }
