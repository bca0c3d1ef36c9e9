"""The language of SimpleTuner: config.json and multidatabackend.json."""
