<?php throw new Exception("broken on purpose");
