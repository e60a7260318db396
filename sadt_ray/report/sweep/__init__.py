"""The page of a sweep: its figures pooled and compared, drawn and filed."""
