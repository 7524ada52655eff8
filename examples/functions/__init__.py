"""Functions that process files on ingest; a rule names one as `module:function`."""
