"""What the store remembers, by subject.

Times are integers: microseconds since the epoch, UTC (`_us`); ranks' exit times are nanoseconds (`_ns`) in server time.
"""
