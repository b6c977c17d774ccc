"""`recoup demo`: a month of sample failures played at speed, on real parts but for the money."""
