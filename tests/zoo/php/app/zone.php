<?php echo (new DateTime("2000-01-01 12:00 UTC"))->setTimezone(new DateTimeZone("Asia/Tokyo"))->format("c");
