import sys

from gotoni_tokenizer.command import main

sys.exit(main())
