-- Parts are told apart by ETags: MD5s of their bytes, unless their sender asked for one of their CRC-64 and length or Kiln wrote
-- them itself. What Kiln wrote before this has an empty one, which nothing asks for.

ALTER TABLE parts RENAME COLUMN md5 TO etag;
