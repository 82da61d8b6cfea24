<?php echo mb_convert_case("été", MB_CASE_UPPER, "UTF-8"), iconv("UTF-8", "ISO-8859-1", "") , bin2hex(mb_convert_encoding("é", "ISO-8859-1", "UTF-8"));
