<?php echo (new SimpleXMLElement("<a><b>xml</b></a>"))->b, json_encode([1]);
